"""One node's own part in jobs: its connections to its parent, the bundles that it stages, the programs that it runs."""
