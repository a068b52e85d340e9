"""What tests share: runs made in seconds, stand-ins for hardware, servers, snapshots."""
