"""What we know of Kubernetes audit events: plain Python that imports no Beam."""
