#!/bin/bash
# Inside fresh user, mount and process namespaces: enter.sh ROOT PROGRAM ARGUMENTS... runs PROGRAM with ROOT as its root directory.
set -euo pipefail

root=$1
shift

for name in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then
    cp -P "/$name" "$root/$name" 2>/dev/null || true # there already from the action before
  elif [ -d "/$name" ]; then
    mkdir -p "$root/$name"
    mount --rbind "/$name" "$root/$name"
    mount -o remount,bind,ro "$root/$name"
  fi
done
if [ -d "$root/usr/local" ]; then
  mkdir -p "$root/emr/usr-local/bin"
  mount --bind "$root/emr/usr-local" "$root/usr/local"
fi
mount -t proc proc "$root/proc" # of this namespace: the processes of the script alone
mkdir -p "$root/dev"
for name in null zero random urandom tty; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
[ -e "$root/dev/fd" ] || ln -s /proc/self/fd "$root/dev/fd"

# The inner bash also runs scripts without a #! line.
# shellcheck disable=SC2016 # "$0" and "$@" are the inner bash's
exec chroot "$root" /usr/bin/env -i \
  HOME=/home/hadoop USER=hadoop LOGNAME=hadoop SHELL=/bin/bash LANG=C.UTF-8 \
  PATH=/emr/shims:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin \
  /bin/bash -c 'cd ~ && "$0" "$@"' "$@"
