#!/usr/bin/env bash
# Puts container images into the store of a node that does not run yet, by the node's own containerd in a chroot, not unpacked,
# as `kind build node-image` does. Usage: import-images.sh ROOT IMAGES   (in mount and PID namespaces of its own)
set -euo pipefail
root=$1 images=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev" # without it /dev/null would become a file of the image
mount -t tmpfs tmp "$root/run"
mount -t tmpfs tmp "$root/tmp"
mkdir "$root/tmp/images"
mount --bind "$images" "$root/tmp/images"
chroot "$root" bash -euc '
  # What every container on the node begins with: kind hides the machine from it by a hook.
  hook="{\"path\": \"/kind/bin/mount-product-files.sh\"}"
  ctr oci spec | jq ".hooks.createContainer[.hooks.createContainer | length] |= . + $hook | del(.process.rlimits)" > /etc/containerd/cri-base.json
  containerd > /tmp/log 2>&1 &
  for _ in $(seq 100); do ctr version > /dev/null 2>&1 && break; sleep 0.2; done
  for image in /tmp/images/*.image; do
    ctr --namespace=k8s.io images import --all-platforms --no-unpack "$image" || { cat /tmp/log; exit 1; }
  done
  kill %1
  wait %1 || true
' 1>&2
