#!/bin/sh
# What an admin's shell script does, one volume after the other: the other end of the comparison.
# usage: shell.sh up|down DIR COUNT
set -eu
act=$1 dir=$2 count=$3
mkdir -p "$dir/pool" "$dir/stage" "$dir/pod"
n=0
while [ "$n" -lt "$count" ]; do
  if [ "$act" = up ]; then
    truncate -s 1G "$dir/pool/$n.img"
    loop=$(losetup --find --show "$dir/pool/$n.img")
    mkfs.ext4 -q "$loop"
    mkdir "$dir/stage/$n" "$dir/pod/$n"
    mount "$loop" "$dir/stage/$n"
    mount --bind "$dir/stage/$n" "$dir/pod/$n"
  else
    loop=$(findmnt -n -o SOURCE "$dir/stage/$n")
    umount "$dir/pod/$n"
    umount "$dir/stage/$n"
    losetup -d "$loop"
    rmdir "$dir/pod/$n" "$dir/stage/$n"
  fi
  n=$((n + 1))
done
