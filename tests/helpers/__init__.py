"""What tests share: small runs, fake hardware, servers, snapshots."""
