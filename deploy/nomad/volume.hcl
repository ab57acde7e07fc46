# A volume on one client: nomad volume create deploy/nomad/volume.hcl
# It is made by the plugin of that client and stays there; jobs that use it are placed there.
id        = "shop-data"
name      = "shop-data"
type      = "csi"
plugin_id = "csictl-worker1"

capacity_min = "2GiB"
capacity_max = "4GiB"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}

mount_options {
  fs_type     = "ext4"
  mount_flags = ["noatime"]
}

parameters {
  class = "standard"
}
