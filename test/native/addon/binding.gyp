{
  "targets": [{ "target_name": "blocks", "sources": ["blocks.c"], "cflags": ["-Wall", "-Wextra", "-Werror"] }]
}
