"""What comes back: failure reports (RFC 3464) and feedback reports (RFC 5965), as receivers send them.

They cannot fail: any text goes in.
"""


def dsn(
    to: str, status: str = "5.1.1", diagnostic: str = "smtp; 550 5.1.1 User unknown", action: str = "failed"
) -> str:
    """A report as RFC 3464 has it."""
    return "\r\n".join(
        [
            "From: MAILER-DAEMON@mx.example.jp",
            f"To: {to}",
            "Subject: Undelivered Mail Returned to Sender",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            'Content-Type: multipart/report; report-type=delivery-status; boundary="B"',
            "",
            "--B",
            "Content-Type: text/plain",
            "",
            "Sorry.",
            "--B",
            "Content-Type: message/delivery-status",
            "",
            "Reporting-MTA: dns; mx.example.jp",
            "",
            "Final-Recipient: rfc822; taro@example.jp",
            f"Action: {action}",
            f"Status: {status}",
            f"Diagnostic-Code: {diagnostic}",
            "",
            "--B--",
            "",
        ]
    )


def complaint(original_mail_from: str, feedback_type: str = "abuse", to: str = "<fbl@bounce.hayabin.example>") -> str:
    """A feedback report as RFC 5965 has it."""
    return "\r\n".join(
        [
            "From: <fbl@provider.example>",
            f"To: {to}",
            "Subject: FW: News",
            "MIME-Version: 1.0",
            'Content-Type: multipart/report; report-type=feedback-report; boundary="B"',
            "",
            "--B",
            "Content-Type: text/plain",
            "",
            "This is an email abuse report.",
            "--B",
            "Content-Type: message/feedback-report",
            "",
            f"Feedback-Type: {feedback_type}",
            "User-Agent: SomeGenerator/1.0",
            "Version: 1",
            f"Original-Mail-From: <{original_mail_from}>",
            "",
            "--B",
            "Content-Type: text/rfc822-headers",
            "",
            "From: news@shop.example",
            "Subject: News",
            "",
            "--B--",
            "",
        ]
    )
