#!/bin/sh
# From the initramfs to a root that systemd can make mount namespaces of.
mkdir /new
mount -t tmpfs -o size=80% root /new
for name in bin sbin lib lib64 etc usr var root; do cp -a /$name /new/; done
mkdir /new/proc /new/sys /new/dev /new/run /new/tmp /new/home
mount -t devtmpfs dev /new/dev
exec switch_root /new /lib/systemd/systemd
