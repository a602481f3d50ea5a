"""Council newsrooms to a folder of documents: what their feeds list is fetched once, and kept as it came."""
