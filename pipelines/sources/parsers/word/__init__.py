"""What the parser of DOCX is made of: the parts of the file, rewritten so that mammoth reads all that they say."""
