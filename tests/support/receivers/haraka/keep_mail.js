// Refuses whom it does not know, and keeps every mail in a Maildir: one file for each recipient, on the disk before Haraka answers 250.
'use strict'

const fs = require('node:fs/promises')
const path = require('node:path')
const { PassThrough } = require('node:stream')
const { buffer } = require('node:stream/consumers')

const maildir = path.join(process.env.HARAKA, 'Maildir')

async function write_to_disk(name, parts) {
  const written = path.join(maildir, 'tmp', name)
  const file = await fs.open(written, 'wx')
  await file.writev(parts)
  await file.sync()
  await file.close()
  await fs.rename(written, path.join(maildir, 'new', name))
}

async function keep(transaction) {
  const content = await buffer(transaction.message_stream.pipe(new PassThrough()))
  for (const [number, recipient] of transaction.rcpt_to.entries()) {
    const trace = Buffer.from(`Delivered-To: ${recipient.address()}\r\n`)
    await write_to_disk(`${transaction.uuid}.${number}`, [trace, content])
  }
}

exports.hook_rcpt = function (next, connection, [recipient]) {
  if (!recipient.user.startsWith('reader')) return next(DENY, 'no such user')
  next()
}

exports.hook_queue = function (next, connection) {
  keep(connection.transaction).then(
    () => next(OK, 'kept'),
    (error) => {
      connection.logerror(this, error.stack)
      next(DENYSOFT, 'not kept')
    },
  )
}
