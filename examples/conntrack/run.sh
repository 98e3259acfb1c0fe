#!/usr/bin/env bash
# Two firewalls in XDP (conntrack.bpf.c) share the table of their connections. A
# connection that was opened through the first one goes on through the second one
# after the first one died. Everything runs on this machine, in network namespaces.
#
#   inside ──┬── fw-a ──┬── outside        sudo ./run.sh [path of mapgossip]
#            └── fw-b ──┘
#
# Needs root, ip, nsenter, socat, bpftool, clang, libbpf's headers and a bpffs at
# /sys/fs/bpf. WITHOUT=1 runs it without mapgossip: then the connection breaks.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mapgossip=${1:-$here/../../bin/mapgossip}
clang=${CLANG:-clang}
work=$(mktemp -d)
bpf=/sys/fs/bpf/conntrack-example-$$

say() { printf '\n%s\n' "$*"; }
# Not "ip netns exec": that one hides /sys/fs/bpf.
in_net() { local name=$1; shift; nsenter --net="/run/netns/$name" -- "$@"; }
# The same in place of a shell of its own, for what is left running.
become_in_net() { local name=$1; shift; exec nsenter --net="/run/netns/$name" -- "$@"; }

finish() {
	for name in inside outside fw-a fw-b; do
		ip netns pids "$name.$$" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
		ip netns delete "$name.$$" 2>/dev/null || true
	done
	rm -rf "$bpf" "$work"
}
trap finish EXIT

# link A ADDRESS-OF-A B ADDRESS-OF-B: a cable between two namespaces.
link() {
	ip link add "to-${3%%.*}" netns "$1" type veth peer name "to-${1%%.*}" netns "$3"
	in_net "$1" ip address add "$2" dev "to-${3%%.*}"
	in_net "$3" ip address add "$4" dev "to-${1%%.*}"
	in_net "$1" ip link set "to-${3%%.*}" up
	in_net "$3" ip link set "to-${1%%.*}" up
}

# through A-OR-B: traffic of both sides goes that way from now on.
through() {
	local way=1
	[ "$1" = a ] || way=2
	in_net inside.$$ ip route replace 10.99.0.2 via "10.99.1$way.1" src 10.99.0.1
	in_net outside.$$ ip route replace 10.99.0.1 via "10.99.2$way.1" src 10.99.0.2
}

# exchange TEXT: sends a line over the open connection and wants it back.
exchange() {
	local answer
	echo "$1" >&"${client[1]}"
	if read -r -t 8 answer <&"${client[0]}" && [ "$answer" = "$1" ]; then
		echo "  inside   sent '$1' and got it back"
	else
		echo "  inside   sent '$1' and got no answer"
		return 1
	fi
}

# ask HOST COMMAND...: the agent of a firewall.
ask() { local name=$1 command=$2; shift 2; "$mapgossip" "$command" "$@" --http "unix:$work/$name.sock"; }

say "two firewalls, each with its own table"
"$clang" -O2 -g -target bpf "-I/usr/include/$(uname -m)-linux-gnu" -c "$here/conntrack.bpf.c" -o "$work/conntrack.o"
for name in inside outside fw-a fw-b; do
	ip netns add $name.$$
	in_net $name.$$ ip link set lo up
done
in_net inside.$$ ip address add 10.99.0.1/32 dev lo
in_net outside.$$ ip address add 10.99.0.2/32 dev lo
link fw-a.$$ 10.99.11.1/24 inside.$$ 10.99.11.2/24
link fw-b.$$ 10.99.12.1/24 inside.$$ 10.99.12.2/24
link fw-a.$$ 10.99.21.1/24 outside.$$ 10.99.21.2/24
link fw-b.$$ 10.99.22.1/24 outside.$$ 10.99.22.2/24
link fw-a.$$ 10.99.30.1/24 fw-b.$$ 10.99.30.2/24
for name in fw-a fw-b; do
	n=$([ $name = fw-a ] && echo 1 || echo 2)
	in_net $name.$$ sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	in_net $name.$$ ip route add 10.99.0.1 via 10.99.1$n.2
	in_net $name.$$ ip route add 10.99.0.2 via 10.99.2$n.2
	mkdir -p $bpf/$name
	bpftool prog loadall "$work/conntrack.o" $bpf/$name/programs pinmaps $bpf/$name/maps
	in_net $name.$$ ip link set to-inside xdpgeneric pinned $bpf/$name/programs/from_inside
	in_net $name.$$ ip link set to-outside xdpgeneric pinned $bpf/$name/programs/from_outside
	echo "  $name     $bpf/$name/maps/connections"
done

if [ -z "${WITHOUT:-}" ]; then
	say "a mapgossip agent on each, told nothing but the map and a seed"
	join=()
	for name in fw-a fw-b; do
		n=$([ $name = fw-a ] && echo 1 || echo 2)
		become_in_net $name.$$ "$mapgossip" agent --node $name --map $bpf/$name/maps/connections \
			--bind 10.99.30.$n --http "unix:$work/$name.sock" "${join[@]}" 2>"$work/$name.log" &
		[ $name = fw-b ] || first=$!
		disown
		join=(--join 10.99.30.1)
	done
	for name in fw-a fw-b; do
		for _ in $(seq 100); do
			ask $name status -o json 2>/dev/null | grep -q '"in_sync": true' && break
			sleep 0.3
		done
	done
	ask fw-a members | sed 's/^/  /'
fi

say "a connection from the inside, through fw-a"
become_in_net outside.$$ socat TCP-LISTEN:8080,bind=10.99.0.2,fork,reuseaddr EXEC:cat &
disown
through a
sleep 0.5
coproc client { become_in_net inside.$$ socat - TCP:10.99.0.2:8080,bind=10.99.0.1:40000; }
disown
exchange "hello"

if [ -z "${WITHOUT:-}" ]; then
	say "fw-b knows of it, though it saw no packet"
	key=saddr=10.99.0.1,daddr=10.99.0.2,sport=40000,dport=8080
	for _ in $(seq 50); do
		ask fw-b get connections $key >"$work/got" 2>&1 && grep -q ESTABLISHED "$work/got" && break
		sleep 0.2
	done
	echo "  fw-b# mapgossip get connections $key"
	sed 's/^/  /' "$work/got"
	grep -q ESTABLISHED "$work/got"
fi

say "fw-a dies: its links are down, its agent is killed; routes lead through fw-b"
in_net fw-a.$$ ip link set to-inside down
in_net fw-a.$$ ip link set to-outside down
[ -n "${WITHOUT:-}" ] || kill -9 "$first"
through b
if exchange "are you still there?"; then
	say "the connection survived its firewall"
else
	say "the connection did not survive: fw-b drops what it does not know"
	exit 1
fi
