complete --keep-order --exclusive --command csictl --arguments "(CSICTL_COMPLETE=fish csictl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
