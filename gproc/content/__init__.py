"""What a bundle holds, as values: the manifest, its entries and the digests that name chunks."""
