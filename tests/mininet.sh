#!/bin/bash
# mininet.sh FOLDER VSWITCH CONTROLLER MN-OPTION... <LINES: Debian's `mn`, unmodified, with our daemon instead of Open
# vSwitch's. To be run in pid, mount and network namespaces of its own. FOLDER: for what is left behind; VSWITCH: the
# command; CONTROLLER: a command that is one ("-": none). LINES are given to Mininet's prompt.
set -u
folder=$1; vswitch=$2; controller=$3; shift 3
exec 3<&0 </dev/null
mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf || exit 90
mkdir -p /run/openvswitch && mount -t tmpfs tmpfs /run/openvswitch && mkdir /run/openvswitch/left || exit 91
mount --bind "$folder" /run/openvswitch/left && mount -t tmpfs tmpfs /tmp || exit 92
folder=/run/openvswitch/left
ip link set lo up
export OVS_RUNDIR=/run/openvswitch
"$vswitch" vswitchd /run/openvswitch/conf.db --rundir /run/openvswitch >"$folder/daemon.log" 2>&1 & daemon=$!
for _ in $(seq 200); do [ -S /run/openvswitch/db.sock ] && break; sleep 0.1; done
if [ "$controller" != - ]; then
  $controller >"$folder/controller.log" 2>&1 & other=$!
  for _ in $(seq 200); do ss -ltn | grep -q ':6653 ' && break; sleep 0.1; done
fi
mn --switch ovsk "$@" <&3 >"$folder/mn.log" 2>&1
code=$?
ovs-vsctl --timeout=10 list-br >"$folder/bridges" 2>&1
ls /sys/fs/bpf/vswitch >"$folder/datapaths" 2>/dev/null
[ "$controller" = - ] || kill "$other"
kill "$daemon"; wait "$daemon"
echo "$?" >"$folder/ended"
exit $code
