# Completion of vswitch for fish: vswitch completion fish >~/.config/fish/completions/vswitch.fish

function __vswitch_candidates
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] completion --words $words[2..-1] "$current" 2>/dev/null)
        if string match -q ':files*' -- $line
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end

complete -c vswitch -f -a '(__vswitch_candidates)'
