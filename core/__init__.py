"""What everything else stands on: errors, places, files replaced whole, manifests. It imports nothing of ours."""
