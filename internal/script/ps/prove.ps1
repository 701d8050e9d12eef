# prove: both sides of a port proof, for all peers at once. It listens for a few seconds on ports nobody uses, looks for
# the peers' connections in this server's TCP table where a service listens, and dials the peers, all on "go".
# In:  listen PORT KEY TOKENS | watch PORT ADDRESSES | dial ID ADDRESS PORT WORDS TOKEN AFTER
#      limits DIAL HOLD LEAST MOST (milliseconds), then "set", later "go"
# Out: bound PORT | busy PORT CODE, "ready"; dialled ID RESULT CODE STARTED MS LOCAL REPLY; accepted PORT FROM;
#      heard PORT TOKEN FROM TO;
#      seen PORT FROM TO; gone PORT (watched, but at some moment nobody listened there); "served MS GAP"
# (GAP: the longest that it did not look at the TCP table). It serves LEAST after go and ends as soon as it heard and saw what it was told to expect, after MOST in any case.
# WORDS are what it says on a connection: token, tls (a client hello), http (GET /status/servicestate) or nothing.
$listens = @(); $watches = @(); $dials = @()
while ($true) {
  $f = Read-Frame
  if ($f[0] -ceq 'set' -or $f[0] -ceq 'end') { break }
  switch -CaseSensitive ($f[0]) {
    'listen' { $listens += , @{ port = [int]$f[1]; key = $f[2]; missing = [Collections.ArrayList]@($f[3].Split(' ')) } }
    'watch' { $watches += , @{ port = [int]$f[1]; missing = [Collections.ArrayList]@($f[2].Split(' ')) } }
    'dial' { $dials += , @{ id = $f[1]; address = $f[2]; port = [int]$f[3]; words = $f[4]; token = $f[5]; after = [int]$f[6]; state = 'waiting'; reply = ''; from = '' } }
    'limits' { $dialLimit = [int]$f[1]; $hold = [int]$f[2]; $least = [int]$f[3]; $most = [int]$f[4] }
  }
}
$clock = [Diagnostics.Stopwatch]::StartNew()
$watched = @{}
foreach ($watch in $watches) { $watched[$watch.port] = $true }
$readable = [Net.Sockets.SelectMode]::SelectRead
# A TLS 1.2 client hello and a plain request: harmless to the services, enough to make them speak.
$hello = '16030100ce010000ca0303fd08ee2ec78310b6307d1383597bace1c6ecceba4e13700eeea3528304e587d62015b895909993d325bb5d877c4461e07d546ab5d24fbf9bf193c3bd9cca4331ee0014c02bc02fc02cc030cca9cca8c009c013c00ac0140100006d000b00020100ff010001000017000000120000000500050100000000000a000a0008001d001700180019000d0016001408040403080708050806040105010601050306030032001a0018080404030807080508060401050106010503060302010203002b000706030303020301'

function New-TcpSocket {
  [Activator]::CreateInstance([Net.Sockets.Socket], [object[]]@([Net.Sockets.AddressFamily]::InterNetwork, [Net.Sockets.SocketType]::Stream, [Net.Sockets.ProtocolType]::Tcp))
}

function Get-Code($failure) {
  $e = $failure.Exception.GetBaseException()
  if ($e -is [Net.Sockets.SocketException]) { return [int]$e.SocketErrorCode }
  return -1
}

function Get-Answer([string]$key, [string]$token) {
  $keyed = [Activator]::CreateInstance([Security.Cryptography.HMACSHA256], [object[]]@(, $ascii.GetBytes($key)))
  try { return [Convert]::ToBase64String($keyed.ComputeHash($ascii.GetBytes($token))) } finally { $keyed.Dispose() }
}

function Get-Words($dial) {
  switch -CaseSensitive ($dial.words) {
    'token' { return , $ascii.GetBytes($dial.token + "`n") }
    'tls' { return , [byte[]]@(for ($i = 0; $i -lt $hello.Length; $i += 2) { [Convert]::ToByte($hello.Substring($i, 2), 16) }) }
    'http' { return , $ascii.GetBytes("GET /status/servicestate HTTP/1.1`r`nHost: $($dial.address):$($dial.port)`r`n`r`n") }
  }
  return , [byte[]]@()
}

# The connections to watched ports. A server may have thousands of others.
function Get-Connections {
  if (-not $watches.Count) { return }
  foreach ($c in [Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpConnections()) {
    if ($watched[$c.LocalEndPoint.Port] -and [string]$c.State -cne 'TimeWait') { $c }
  }
}

function Receive-Hex($socket) {
  $buffer = [byte[]]@(, 0 * 256)
  $length = $socket.Receive($buffer)
  [BitConverter]::ToString($buffer, 0, $length).Replace('-', '')
}

$talks = @()
try {
  foreach ($listen in $listens) {
    # The wildcard address, exclusively: it can neither take traffic from a service nor share its port with one.
    $socket = New-TcpSocket
    $socket.ExclusiveAddressUse = $true
    try {
      $socket.Bind([Activator]::CreateInstance([Net.IPEndPoint], [object[]]@([Net.IPAddress]::Any, $listen.port)))
      $socket.Listen(16)
      $socket.Blocking = $false
      $listen.socket = $socket
      Send-Frame 'bound' $listen.port
    } catch {
      $socket.Close()
      $listen.missing.Clear()
      Send-Frame 'busy' $listen.port (Get-Code $_)
    }
  }
  $old = @{}
  foreach ($c in Get-Connections) { $old["$($c.LocalEndPoint) $($c.RemoteEndPoint)"] = $true }
  Send-Frame 'ready'
  $f = Read-Frame
  if ($f[0] -cne 'go') { throw 'told to stop before go' }
  $clock.Restart()
  $look = 0; $looked = 0; $gap = 0
  while ($true) {
    $now = $clock.ElapsedMilliseconds
    foreach ($dial in $dials) {
      if ($dial.state -ceq 'waiting' -and $now -ge $dial.after) {
        $dial.started = $now
        $dial.state = 'connecting'
        $dial.socket = New-TcpSocket
        try { $dial.pending = $dial.socket.BeginConnect([Net.IPAddress]::Parse($dial.address), $dial.port, $null, $null) } catch { $dial.state = 'failed'; $dial.code = Get-Code $_ }
      }
      if ($dial.state -ceq 'connecting') {
        if ($dial.pending.IsCompleted) {
          try {
            $dial.socket.EndConnect($dial.pending)
            $dial.connected = $now
            $dial.from = [string]$dial.socket.LocalEndPoint
            $words = Get-Words $dial
            if ($words.Length) { [void]$dial.socket.Send($words) }
            $dial.state = 'connected'
          } catch { $dial.state = 'failed'; $dial.code = Get-Code $_ }
        } elseif ($now - $dial.started -ge $dialLimit) { $dial.state = 'timeout'; $dial.code = 10060 }
      }
      if ($dial.state -ceq 'connected') {
        $done = $false
        try {
          if (-not $dial.reply -and -not $dial.closed -and $dial.socket.Poll(0, $readable)) {
            $dial.reply = Receive-Hex $dial.socket
            if (-not $dial.reply) { $dial.closed = $true }
          }
        } catch { $dial.closed = $true }
        if ($dial.words -ceq 'token') { $done = $dial.reply -or $dial.closed -or $now - $dial.connected -ge $dialLimit }
        else { $done = $now - $dial.connected -ge $hold -and ($dial.reply -or $dial.closed -or $dial.words -ceq 'nothing' -or $now - $dial.connected -ge $dialLimit) }
        if ($done) { $dial.state = 'open'; $dial.code = 0 }
      }
      if ('open', 'failed', 'timeout' -ccontains $dial.state) {
        Send-Frame 'dialled' $dial.id $dial.state $dial.code $dial.started ($now - $dial.started) $dial.from $dial.reply
        $dial.socket.Close()
        $dial.state = 'over'
      }
    }
    foreach ($listen in $listens) {
      while ($listen.socket -and $listen.socket.Poll(0, $readable)) {
        try { $accepted = $listen.socket.Accept() } catch { break } # whoever knocked has gone again
        $accepted.Blocking = $true
        Send-Frame 'accepted' $listen.port $accepted.RemoteEndPoint
        $talks += , @{ socket = $accepted; listen = $listen }
      }
    }
    foreach ($talk in $talks) {
      if (-not $talk.socket -or -not $talk.socket.Poll(0, $readable)) { continue }
      try {
        $buffer = [byte[]]@(, 0 * 256)
        $length = $talk.socket.Receive($buffer)
        if ($length) {
          $token = $ascii.GetString($buffer, 0, $length).Trim() -creplace '[^A-Za-z0-9+/=-]', '?'
          [void]$talk.socket.Send($ascii.GetBytes((Get-Answer $talk.listen.key $token) + "`n"))
          Send-Frame 'heard' $talk.listen.port $token $talk.socket.RemoteEndPoint $talk.socket.LocalEndPoint
          $talk.listen.missing.Remove($token)
        }
      } catch { }
      $talk.socket.Close()
      $talk.socket = $null
    }
    if ($watches.Count -and $now -ge $look) {
      $look = $now + 100
      if ($old.Count -le 2000) {
        $gap = [Math]::Max($gap, $now - $looked)
        $looked = $now
      }
      $open = @(foreach ($end in [Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpListeners()) { $end.Port })
      foreach ($watch in $watches) {
        if ($watch.gone -or $open -contains $watch.port) { continue }
        $watch.gone = $true
        $watch.missing.Clear()
        Send-Frame 'gone' $watch.port
      }
      foreach ($c in Get-Connections) {
        $pair = "$($c.LocalEndPoint) $($c.RemoteEndPoint)"
        if ($old[$pair] -or $old.Count -gt 2000) { continue }
        $old[$pair] = $true
        Send-Frame 'seen' $c.LocalEndPoint.Port $c.RemoteEndPoint $c.LocalEndPoint
        $address = $c.RemoteEndPoint.Address.ToString() -creplace '^::ffff:', ''
        foreach ($watch in $watches) { if ($watch.port -eq $c.LocalEndPoint.Port) { $watch.missing.Remove($address) } }
      }
    }
    if ($now -ge $most) { break }
    $left = @($dials | Where-Object { $_.state -cne 'over' }).Count
    foreach ($side in $listens + $watches) { $left += $side.missing.Count }
    if ($now -ge $least -and $left -eq 0) { break }
    [Threading.Thread]::Sleep(10)
  }
  $now = $clock.ElapsedMilliseconds
  Send-Frame 'served' $now ([Math]::Max($gap, $now - $looked))
  Send-Frame 'end' 'ok'
} catch { Send-Failure 'end' 'error' $_ } finally {
  foreach ($side in $listens + $talks + $dials) { if ($side.socket) { $side.socket.Close() } }
}
