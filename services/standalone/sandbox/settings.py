"""What the sandbox process is told; nothing else of it reads the environment."""

from pathlib import Path

from pydantic import Field

from hayabin.settings import ProcessSettings


class SandboxSettings(ProcessSettings):
    """Where the sandbox listens (loopback alone), keeps mails and reports to."""

    sandbox_folder: Path
    sandbox_smtp_port: int = Field(ge=1, le=65535)
    sandbox_dns_port: int = Field(ge=1, le=65535)
    sandbox_web_port: int = Field(ge=1, le=65535)
    sandbox_report_host: str = "127.0.0.1"
    sandbox_report_port: int = Field(ge=1, le=65535)
    """The bounce service, which gets DSNs and complaints."""
    sandbox_report_delay_s: float = Field(default=2.0, ge=0, le=3600)
    return_path_domain: str
