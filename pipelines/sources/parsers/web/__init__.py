"""What the parser of HTML is made of: characters, tree, what is left out, marks, tables, Markdown."""
