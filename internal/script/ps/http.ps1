# One HTTP exchange of this server with itself. The answer goes out as "WHAT STATUS TEXT", of the text 4000 characters at most.
# The request comes ready: .NET Framework takes no other settings once a body has been written to it.
function Send-Answer([string]$what, $request) {
  try { $answer = $request.GetResponse() } catch {
    $e = $_.Exception.GetBaseException()
    if ($e -is [Net.WebException]) { $answer = $e.Response }
    if ($null -eq $answer) { throw }
  }
  try {
    $text = [char[]](, [char]0 * 4000)
    $reader = [Activator]::CreateInstance([IO.StreamReader], [object[]]@($answer.GetResponseStream()))
    $length = $reader.ReadBlock($text, 0, 4000)
    Send-Frame $what ([int]$answer.StatusCode) ([string]::Join('', $text).Substring(0, $length))
  } finally { $answer.Close() }
}

# The state of the repository service, as it tells it on its own port.
function Send-State {
  $request = [Net.WebRequest]::Create('http://localhost:4444/status/servicestate')
  $request.Proxy = $null
  $request.Timeout = 5000
  $request.ReadWriteTimeout = 5000
  $request.AllowAutoRedirect = $false
  Send-Answer 'state' $request
}
