"""`python -m workers`: run the pool."""

from workers.run import main

raise SystemExit(main())
