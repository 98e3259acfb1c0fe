#!/bin/bash
# What an operator does on a host with deploy/systemd and the image, step by step. Each
# line begins with ok or FAILED; TestHost reads them on the second serial port.
exec >/dev/ttyS1 2>/dev/null
cd /root || exit
export MAPGOSSIP_HTTP=unix:/run/mapgossip/http.sock

# expect NAME PATTERN COMMAND...: within a minute it prints something like that.
expect() {
	local name=$1 pattern=$2 out end=$((SECONDS + 60))
	shift 2
	while ((SECONDS < end)); do
		out=$("$@" 2>&1)
		if grep -Eq -e "$pattern" <<<"$out"; then
			echo "ok $name"
			return
		fi
		sleep 0.5
	done
	echo "FAILED $name: want $pattern, have: $(tail -n 20 <<<"$out" | tr '\n' '|')"
}
unit() { systemctl show -p "$1" --value mapgossip; }
of_process() { grep "^$1:" "/proc/$(unit MainPID)/status"; }
said() { journalctl --no-pager -o cat -u mapgossip; }
setting() { sed -i "/^#\?$1=/d" /etc/mapgossip/mapgossip.env && echo "$1=$2" >>/etc/mapgossip/mapgossip.env; }
write() { bpftool map update pinned "/sys/fs/bpf/$1" key "$2" 0 0 0 value "$2" 0 0 0 0 0 0 0; }
only_capabilities() {
	mkdir -p /etc/systemd/system/mapgossip.service.d
	printf '[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=%s\n' "$1" >/etc/systemd/system/mapgossip.service.d/test.conf
	systemctl daemon-reload
}

bpftool map create /sys/fs/bpf/flows type hash key 4 value 8 entries 1024 name flows
bpftool map create /sys/fs/bpf/other type hash key 4 value 8 entries 1024 name other
bash -e install.sh >install.out 2>&1 # the README's commands

expect 'the unit starts' '^active$' unit ActiveState
expect 'systemctl tells of replication' 'in sync, with no other alive member' unit StatusText
expect 'two capabilities are left' '000000c000000000' of_process CapEff
expect 'no new privileges' 1 of_process NoNewPrivs
expect 'a filter of system calls' 2 of_process Seccomp
expect 'the state is private' '^700 root$' stat -c '%a %U' /var/lib/mapgossip
expect 'the socket is private' '^660 root$' stat -c '%a %U' /run/mapgossip/http.sock
write flows 1
expect 'a write is captured' '^01000000 .*0100000000000000' mapgossip dump flows
expect 'by the hooks' 'capture +fexit' mapgossip status

cp /etc/mapgossip/keyring two.keyring
mapgossip agent --node two --bind 127.0.0.1:7999 --http 127.0.0.1:7950 --map flows=/sys/fs/bpf/other \
	--join 127.0.0.1:7946 --keyring two.keyring >two.log 2>&1 &
expect 'another member is filled' '01 00 00 00' bpftool map dump pinned /sys/fs/bpf/other
write other 2
expect 'and its writes come' '02 00 00 00' bpftool map dump pinned /sys/fs/bpf/flows
expect 'systemctl tells of it' 'in sync, with 1 alive member$' unit StatusText

mapgossip keygen >>/etc/mapgossip/keyring
expect 'a reload succeeds' '^0$' bash -c 'systemctl reload mapgossip; echo $?'
expect 'and reads the key' 'self.* [0-9a-f]{16} +[0-9a-f]{16} +yes' mapgossip keys
mapgossip keygen >new.key
mapgossip keys install new.key >/dev/null
expect 'keys that are installed are kept' '^3$' grep -c . /etc/mapgossip/keyring

kill -KILL "$(unit MainPID)"
expect 'killed, it is started again' '^1$' unit NRestarts
expect 'and runs' '^active$' unit ActiveState
expect 'and is in sync again' 'in sync, with 1 alive member$' unit StatusText
kill -STOP "$(unit MainPID)"
expect 'hung, the watchdog starts it again' '^2$' unit NRestarts
expect 'and what it did is in the journal' '^goroutine ' said

setting MAPGOSSIP_CAPTURE_PINS /sys/fs/bpf/mapgossip
systemctl restart mapgossip
expect 'captures are pinned' 'capture_' ls /sys/fs/bpf/mapgossip
expect 'and all is in sync once more' 'in sync, with 1 alive member$' unit StatusText
systemctl stop mapgossip
expect 'it stops in order' '^0 success$' bash -c 'echo $(systemctl show -p ExecMainStatus --value mapgossip) $(systemctl show -p Result --value mapgossip)'
expect 'and has left' 'host +left' mapgossip members --http 127.0.0.1:7950
write flows 3
systemctl start mapgossip
expect 'what was written meanwhile is there' '^03000000 ' mapgossip dump flows

sed -i /^MAPGOSSIP_CAPTURE_PINS=/d /etc/mapgossip/mapgossip.env # captures that are pinned go on without
only_capabilities CAP_BPF
systemctl restart mapgossip
expect 'without CAP_PERFMON it scans, and says why' 'capture by scan.*lacks CAP_PERFMON' said
setting MAPGOSSIP_CAPTURE fexit
systemctl restart mapgossip
expect 'what the kernel refuses is exit code 3' '^3$' unit ExecMainStatus
sleep 5
expect 'and not tried again' '^failed$' unit ActiveState
rm /etc/systemd/system/mapgossip.service.d/test.conf
systemctl daemon-reload
setting MAPGOSSIP_CAPTURE sometimes
systemctl restart mapgossip
expect 'a wrong flag is exit code 2' '^2$' unit ExecMainStatus
sleep 5
expect 'and not tried again, either' '^failed$' unit ActiveState
expect 'the unit is hardened' 'exposure level.* [0-2]\.[0-9] ' systemd-analyze security --no-pager mapgossip
expect 'and has no fault' '^0$' bash -c 'out=$(systemd-analyze verify /etc/systemd/system/mapgossip.service 2>&1); echo $? $out'
kill %1

printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
engine="podman --cgroup-manager cgroupfs --log-level error"
bpftool map create /sys/fs/bpf/pods type hash key 4 value 8 entries 1024 name pods
cat >pod.env <<-X
	MAPGOSSIP_MAP=pods=/sys/fs/bpf/pods
	MAPGOSSIP_JOIN=
	MAPGOSSIP_KEYRING=/etc/mapgossip/keyring
	MAPGOSSIP_STATE_DIR=/var/lib/mapgossip
	MAPGOSSIP_NODE=node-1
	MAPGOSSIP_BIND=127.0.0.1
	MAPGOSSIP_HTTP=127.0.0.1:7947
X
mkdir /var/lib/mapgossip-pod
# As the DaemonSet has it, but for the profile.
pod="--network host --cap-drop ALL --cap-add BPF --cap-add PERFMON --security-opt no-new-privileges --read-only
	--env-file pod.env -v /sys/fs/bpf:/sys/fs/bpf:rslave -v /var/lib/mapgossip-pod:/var/lib/mapgossip
	-v /etc/mapgossip:/etc/mapgossip:ro"
ask="$engine exec agent /mapgossip"
expect 'the image is built' 'Successfully tagged' $engine build --format docker -t mapgossip image
expect "Podman's profile is told of" 'seccomp=unconfined' $engine run --rm $pod mapgossip agent
$engine run -d --name agent $pod --security-opt seccomp=/root/docker.json mapgossip agent >/dev/null
expect 'the container is ready' '^200$' curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:7947/readyz
write pods 4
expect 'and captures' '^04000000 ' $ask dump pods --http 127.0.0.1:7947
expect 'by the hooks, too' 'capture +fexit' $ask status --http 127.0.0.1:7947
$engine stop -t 20 agent >/dev/null
expect 'it stops in order, too' '^0 exited$' $engine inspect -f '{{.State.ExitCode}} {{.State.Status}}' agent
echo done
systemctl poweroff -ff
