"""What a program touches when it runs here once: `--trace`."""
