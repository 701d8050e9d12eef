# remove: takes back rules that preflight added, one for each line "remove ID STRING" as it comes, and only if the rule is
# still exactly STRING; an ID that is not preflight's is refused.
# Out for each: "removed ID", "absent ID", "differs ID STRING" or "failed ID WHY".
$rules = 'SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules'

function Get-StoredRule([string]$id) {
  $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($rules)
  if ($null -eq $key) { throw "HKLM\$rules does not exist" }
  try { return $key.GetValue($id) } finally { $key.Close() }
}

try {
  while ($true) {
    $f = Read-Frame
    if ($f[0] -cne 'remove') { break }
    try {
      if ($f.Count -ne 3 -or $f[1] -cnotmatch '^preflight-[0-9a-f]{20}\z') { throw "not an id of preflight: $($f[1])" }
      $there = Get-StoredRule $f[1]
      if ($null -eq $there) { Send-Frame 'absent' $f[1]; continue }
      if ([string]$there -cne $f[2]) { Send-Frame 'differs' $f[1] $there; continue }
      Remove-NetFirewallRule -PolicyStore PersistentStore -Name $f[1] -ErrorAction Stop
      if ($null -ne (Get-StoredRule $f[1])) { throw 'the rule is still there' }
      Send-Frame 'removed' $f[1]
    } catch { Send-Failure 'failed' $f[1] $_ }
  }
  Send-Frame 'end' 'ok'
} catch { Send-Failure 'end' 'error' $_ }
