"""Label Studio's own formats, pure: label configs, tasks, regions, brush run lengths."""
