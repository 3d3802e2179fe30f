"""What runs on one machine: the child processes of `geolabel up`, its sample scene, `doctor` and `status`."""
