# A job that writes to the volume of volume.hcl: nomad job run deploy/nomad/example.nomad.hcl
job "shop" {
  datacenters = ["*"]
  type        = "service"

  group "web" {
    volume "data" {
      type            = "csi"
      source          = "shop-data"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
    }

    task "writer" {
      driver = "docker"

      config {
        image   = "busybox:1.37"
        command = "sh"
        args    = ["-c", "while true; do date >> /data/log; sleep 5; done"]
      }

      volume_mount {
        volume      = "data"
        destination = "/data"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
