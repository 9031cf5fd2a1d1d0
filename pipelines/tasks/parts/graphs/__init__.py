"""What tasks over graphs share: features of nodes, graphs as arrays, networks of torch-geometric, simple models."""
