"""The file system process: trio, inodes, reads from the cache, plans for what comes next. It knows no secret."""
