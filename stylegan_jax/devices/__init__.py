"""Where a run computes: devices as a mesh, hosts as processes, and what each kind of device can do."""
