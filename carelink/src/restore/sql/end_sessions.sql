-- Every session that lives in the backup has since moved on or ended: none of them is what it was (R1).
UPDATE session SET ended_at = clock_timestamp(), end_reason = 'restored', events = events + 1 WHERE ended_at IS NULL;
