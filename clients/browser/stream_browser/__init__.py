"""The browser's files, as the server hands them out: ``client`` is the npm package, ``page`` the pages made with it."""
