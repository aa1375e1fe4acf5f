"""What keeps a gallery from other eyes, and from being lost.

encryption   keys, and what is sealed with them
rotation     encrypting a gallery, giving it another key, and decrypting it
wiping       leaving no byte of what was deleted
backup       the whole of it as one file, and back
backup_file  what such a file says of itself, and whether that is so
"""
