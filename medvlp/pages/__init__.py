"""report.html: one self-contained page of what was run and what came out."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Box": "inputs",
        "GalleryItem": "inputs",
        "Quarantined": "inputs",
        "ReportInputs": "inputs",
        "RetrievalExample": "inputs",
        "RetrievalHit": "inputs",
        "draw_sheet": "sheet",
        "read_gallery": "gallery_files",
        "read_run": "run_folder",
        "render_report": "render",
        "write_gallery": "gallery_files",
        "write_report_page": "run_folder",
        "write_sheet": "sheet",
    },
)
