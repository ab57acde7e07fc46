# A volume that a manifest declares, used by Nomad: nomad volume register deploy/nomad/registered.hcl
# external_id is PROJECT.VOLUME, as csictl get volumes shows it. Nomad mounts it; csictl apply alone changes or deletes it.
id          = "shop-pgdata"
name        = "shop-pgdata"
type        = "csi"
plugin_id   = "csictl-worker1"
external_id = "shop.pgdata"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}
