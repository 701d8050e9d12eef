param($lines)
# The common part of every script. Lines come in and go out as ASCII; a line is fields separated by tabs, in which
# a backslash is written \\ and everything that is not printable ASCII \uXXXX.
# A line that goes out is "#pf NUMBER LENGTH CHECK FIELDS": a reader can tell a frame from anything else a server may
# print, and notices a lost or damaged one. Windows PowerShell 3.0, .NET 4.5.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$out = [Console]::Out
$ascii = [Text.Encoding]::ASCII

function Read-Frame {
  if (-not $lines.MoveNext()) { return ,@('end') }
  return ,@(foreach ($field in ([string]$lines.Current).Split("`t")) { [regex]::Unescape($field) })
}

function Send-Frame {
  $fields = [string[]]@(foreach ($value in $args) {
    $text = ([string]$value).Replace('\', '\\')
    if ($text -cmatch '[^ -~]') { $text = [regex]::Replace($text, '[^ -~]', { param($m) '\u{0:x4}' -f [int][char]$m.Value }) }
    $text
  })
  $payload = [string]::Join("`t", $fields)
  $check = [BitConverter]::ToString($hash.ComputeHash($ascii.GetBytes("$($sent.count) $payload")), 0, 4).Replace('-', '').ToLowerInvariant()
  $out.WriteLine("#pf $($sent.count) $($payload.Length) $check $payload")
  $sent.count++
}

function Send-Failure([string]$kind, [string]$what, $failure) {
  $e = $failure.Exception.GetBaseException()
  Send-Frame $kind $what $e.GetType().FullName ('{0:x8}' -f $e.HResult) $failure.CategoryInfo.Category $e.Message
}

# The first line: start KEY SECONDS. KEY makes the checks of this run its own. After SECONDS the process is ended from
# outside PowerShell, even while it waits for a line; its sockets close with it.
$start = Read-Frame
$sent = @{ count = 0 }
$hash = [Activator]::CreateInstance([Security.Cryptography.HMACSHA256], [object[]]@(, $ascii.GetBytes($start[1])))
$deadline = [Activator]::CreateInstance([Threading.CancellationTokenSource])
[void]$deadline.Token.Register([Delegate]::CreateDelegate([Action], [Diagnostics.Process]::GetCurrentProcess(), 'Kill'))
$deadline.CancelAfter(1000 * [int]$start[2])
