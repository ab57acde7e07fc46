# csictl as a CSI plugin of one Nomad client:
#
#   nomad job run -var node=worker1 deploy/nomad/plugin.nomad.hcl
#
# One plugin a client, because its volumes lie on that client: of a plugin with several controllers Nomad asks any one of them, and
# only one of them has the disk. docs/deploy-nomad.md has the steps.

variable "node" {
  type        = string
  description = "Name of the client, as nomad node status shows it"
}

variable "image" {
  type        = string
  description = "Where your copy of the image is (docs/deploy-container.md)"
  default     = "localhost/csictl:0.1.0"
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "csictl" {
  id          = "csictl-${var.node}"
  name        = "csictl-${var.node}"
  datacenters = var.datacenters
  type        = "system"
  # Above jobs that use its volumes: it must be there before them and leave after them.
  priority = 90

  constraint {
    attribute = "${node.unique.name}"
    value     = var.node
  }

  group "plugin" {
    task "csictl" {
      driver = "docker"

      config {
        image      = var.image
        privileged = true
        # The same node id after a restart, and the same records, locks and images as the host's own csictl.
        args = [
          "serve",
          "--driver-name=csi.csictl.io",
          "--node-id=${node.unique.name}",
          "--mode=all",
          "--config=${NOMAD_TASK_DIR}/storage.toml",
          "--drain-timeout=60s",
          "--log-format=json",
        ]

        mount {
          type   = "bind"
          source = "/dev"
          target = "/dev"
        }

        mount {
          type   = "bind"
          source = "/var/lib/csictl"
          target = "/var/lib/csictl"

          bind_options {
            propagation = "rslave"
          }
        }

        mount {
          type   = "bind"
          source = "/run/csictl"
          target = "/run/csictl"

          bind_options {
            propagation = "rshared"
          }
        }
      }

      # Nomad sets CSI_ENDPOINT to the socket below mount_dir, and has staged and published paths below stage_publish_base_dir.
      csi_plugin {
        id                     = "csictl-${var.node}"
        type                   = "monolith"
        mount_dir              = "/csi"
        stage_publish_base_dir = "/local/csi"
        health_timeout         = "30s"
      }

      template {
        destination = "local/storage.toml"
        change_mode = "restart"
        data        = <<-EOF
          version = 1

          [pools.main]
          path    = "/var/lib/csictl/pool"
          reserve = "5GiB"

          [classes.standard]
          pool = "main"
          fs   = { type = "ext4" }

          [classes.xfs]
          pool          = "main"
          fs            = { type = "xfs" }
          mount_options = ["noatime"]
        EOF
      }

      # Above --drain-timeout, so that running calls end.
      kill_timeout = "75s"

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
