
set edit:completion:arg-completer[csictl] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) CSICTL_COMPLETE="elvish" csictl -- $@words) | to-lines
}

