"""The libraries that an ELF program is linked with, as the dynamic linker finds them."""
