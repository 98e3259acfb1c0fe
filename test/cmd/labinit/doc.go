// Command labinit is the first process of each host of a lab (package test/lab): the init of a
// guest under emulation, or of a set of namespaces of this machine. It sets up file systems and
// network, and serves the control channel until that ends; then the host goes down.
//
// In a guest it is /init of the initramfs; its settings are on the kernel's command line.
// In namespaces it is started as "labinit namespace key=value…", with the control channel
// as descriptor 3 and the network (frames, see package ether) as descriptor 4.
// The settings are lab.name=HOST, lab.addr=ADDRESS/BITS and lab.hosts=HOST=ADDRESS,… for /etc/hosts.
//
// It runs itself a second time as "labinit serve", which starts commands and waits
// for them, while the first process adopts and reaps what they leave behind.
//
// HAZARD: in namespaces, /lab, /tmp, /run, /proc, /sys and the network are the host's own, and the
// rest of the file system is the machine's, read-only. The BPF subsystem is the machine's: map IDs and
// program IDs of all hosts are in one list.
package main
