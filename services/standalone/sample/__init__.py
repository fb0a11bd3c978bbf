"""What the demo mails: contacts (made by ``make_contacts``) and a newsletter."""
