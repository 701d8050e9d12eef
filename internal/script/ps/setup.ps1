# setup: speaks with the repository service of this very server, at the two addresses that are written here and at no other,
# as the guide has somebody do in a browser there. In, as often as wanted: "state" | "ports" | "unlock" and then a line that
# is the one-time password alone. Out for each: state STATUS TEXT | ports NUMBERS (those that are listened on) |
# unlock STATUS TEXT, or "failed WHAT WHY".
# The password passes through no cmdlet, no function and no pipeline, for those may be logged.
try {
  while ($true) {
    $f = Read-Frame
    if ($f[0] -ceq 'end') { break }
    $what = 'unknown'
    try {
      switch -CaseSensitive ($f[0]) {
        'state' {
          $what = 'state'
          Send-State
        }
        'ports' {
          $what = 'ports'
          $open = @{}
          foreach ($end in [Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpListeners()) { $open[$end.Port] = $true }
          Send-Frame 'ports' ([string]::Join(' ', @($open.Keys)))
        }
        'unlock' {
          $what = 'unlock'
          if (-not $lines.MoveNext()) { throw 'no password came' }
          $body = $ascii.GetBytes('__pwd=' + [Uri]::EscapeDataString([regex]::Unescape([string]$lines.Current)))
          $request = [Net.WebRequest]::Create('http://localhost:4570/certificateSetup')
          $request.Method = 'POST'
          $request.Proxy = $null
          $request.Timeout = 60000
          $request.ReadWriteTimeout = 60000
          $request.AllowAutoRedirect = $false
          $request.KeepAlive = $false
          $request.ServicePoint.Expect100Continue = $false
          $request.ContentType = 'application/x-www-form-urlencoded'
          $request.ContentLength = $body.Length
          $stream = $request.GetRequestStream()
          try { $stream.Write($body, 0, $body.Length) } finally { $stream.Close() }
          Send-Answer 'unlock' $request
        }
        default { throw 'not something that setup does' }
      }
    } catch { Send-Failure 'failed' $what $_ }
  }
  Send-Frame 'end' 'ok'
} catch { Send-Failure 'end' 'error' $_ }
