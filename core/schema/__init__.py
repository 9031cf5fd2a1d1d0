"""What one section of a recipe or an index may say, and how a settings file is read."""
