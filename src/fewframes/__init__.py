"""fewframes: recognise actions in video from a handful of frames."""
