"""What a reduction found, as JSON and as a page with charts."""
