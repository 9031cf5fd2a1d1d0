"""What a version is made of, each part hashed again; and the version made again."""
