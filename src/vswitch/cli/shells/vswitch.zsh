#compdef vswitch
# Completion of vswitch for zsh: put it as _vswitch into a folder of $fpath, or source <(vswitch completion zsh)

_vswitch() {
    local line
    local -a described
    for line in "${(@f)$("${words[1]}" completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files* ]]; then
            _files
        elif [[ -n $line ]]; then
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#described )) && _describe vswitch described
}

if [[ ${funcstack[1]} == _vswitch ]]; then
    _vswitch "$@"
else
    compdef _vswitch vswitch
fi
