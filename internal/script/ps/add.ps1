# add: adds Windows Firewall rules, one for each line "add ID NAME DESCRIPTION PORTS FROM PROFILES" as it comes.
# Only what this text says is possible: inbound, allow, TCP, numbered ports, an ID that begins with preflight-, and
# source addresses written out, none wider than a /8 or, of IPv6, a /7 (any needs the word). A rule that is there already is never touched.
# Out for each: "added ID STRING", "exists ID STRING", "failed ID WHY" or, if the rule may be there all the same,
# "doubt ID WHY"; at the end "group LIVE" (1, 0).
$rules = 'SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules'

function Get-StoredRule([string]$id) {
  $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($rules)
  if ($null -eq $key) { throw "HKLM\$rules does not exist" }
  try { return $key.GetValue($id) } finally { $key.Close() }
}

function Assert-Narrow($f) {
  if ($f.Count -ne 7) { throw 'a rule has six fields' }
  if ($f[1] -cnotmatch '^preflight-[0-9a-f]{20}\z') { throw "not an id of preflight: $($f[1])" }
  if (($f[2] + $f[3]) -match '\|') { throw 'a name or description with | in it' }
  foreach ($port in $f[4].Split(',')) { if ($port -cnotmatch '^[1-9][0-9]{0,4}\z' -or [int]$port -gt 65535) { throw "not a port: $port" } }
  if ($f[5] -cne 'any') {
    foreach ($from in $f[5].Split(',')) {
      $part = $from.Split('/')
      $address = $null
      if ($from -cnotmatch '^[0-9a-f.:]+(/[1-9][0-9]{0,2})?\z' -or -not [Net.IPAddress]::TryParse($part[0], [ref]$address)) { throw "not an address or a subnet: $from" }
      if ($part.Count -eq 2 -and ([int]$part[1] -lt 7 -or $part[0] -cnotmatch ':' -and [int]$part[1] -lt 8)) { throw "far wider than a network: $from" }
      if ($address.ToString() -ceq '0.0.0.0' -or $address.ToString() -ceq '::') { throw 'any has to be written out' }
    }
  }
  foreach ($profile in $f[6].Split(',')) { if ('Domain', 'Private', 'Public' -cnotcontains $profile) { throw "not a profile: $profile" } }
}

try {
  while ($true) {
    $f = Read-Frame
    if ($f[0] -cne 'add') { break }
    $asked = $false
    try {
      Assert-Narrow $f
      $there = Get-StoredRule $f[1]
      if ($null -ne $there) { Send-Frame 'exists' $f[1] $there; continue }
      $from = 'Any'
      if ($f[5] -cne 'any') { $from = $f[5].Split(',') }
      $asked = $true
      [void](New-NetFirewallRule -PolicyStore PersistentStore -Name $f[1] -DisplayName $f[2] -Description $f[3] -Group 'Preflight' -Direction Inbound -Action Allow -Enabled True -Protocol TCP -LocalPort $f[4].Split(',') -RemoteAddress $from -Profile $f[6].Split(',') -EdgeTraversalPolicy Block -ErrorAction Stop)
      Send-Frame 'added' $f[1] (Get-StoredRule $f[1])
    } catch {
      # Once Windows was asked, only its own store says whether the rule is there.
      $failure = $_
      $kind = 'failed'
      if ($asked) { try { if ($null -ne (Get-StoredRule $f[1])) { $kind = 'doubt' } } catch { $kind = 'doubt' } }
      Send-Failure $kind $f[1] $failure
    }
  }
  try {
    $firewall = New-Object -ComObject HNetCfg.FwPolicy2
    Send-Frame 'group' ([int]$firewall.IsRuleGroupCurrentlyEnabled('Preflight'))
  } catch { Send-Failure 'unknown' 'group' $_ }
  Send-Frame 'end' 'ok'
} catch { Send-Failure 'end' 'error' $_ }
