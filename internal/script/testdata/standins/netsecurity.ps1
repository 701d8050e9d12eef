# Stands in for New-NetFirewallRule and Remove-NetFirewallRule (module NetSecurity). Rules are values of the stand-in
# registry, as Windows Server 2019 writes them: ports and addresses one by one, subnets by their mask. As the real cmdlet,
# a name that exists already is an error (0x800700B7), and removing takes wildcards. With a file "denied" in
# $env:PREFLIGHT_STANDINS, adding is refused as to an account without administrator rights.
function Get-StandInRules { [IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'registry/SYSTEM/CurrentControlSet/Services/SharedAccess/Parameters/FirewallPolicy/FirewallRules/values') }

function New-NetFirewallRule {
  [CmdletBinding()]
  param(
    [string]$PolicyStore, [string]$Name, [string]$DisplayName, [string]$Description, [string]$Group,
    [ValidateSet('Inbound', 'Outbound')][string]$Direction, [ValidateSet('NotConfigured', 'Allow', 'Block')][string]$Action,
    [ValidateSet('True', 'False')][string]$Enabled, [string]$Protocol, [string[]]$LocalPort, [string[]]$RemoteAddress,
    [ValidateSet('Any', 'Domain', 'Private', 'Public', 'NotApplicable')][string[]]$Profile, [ValidateSet('Block', 'Allow', 'DeferToUser', 'DeferToApp')][string]$EdgeTraversalPolicy
  )
  if ([IO.File]::Exists([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'denied'))) { throw [ComponentModel.Win32Exception]::new(5) }
  $file = Get-StandInRules
  foreach ($line in [IO.File]::ReadAllLines($file)) {
    if ($line.Split([char]9)[0] -ieq $Name) { throw [ComponentModel.Win32Exception]::new(183) }
  }
  $rule = 'v2.29|Action=' + $Action + '|Active=' + $Enabled.ToUpperInvariant() + '|Dir=' + $Direction.Replace('Inbound', 'In') + '|Protocol=6'
  foreach ($p in $Profile) { $rule += "|Profile=$p" }
  foreach ($p in $LocalPort) { $rule += "|LPort=$p" }
  foreach ($a in $RemoteAddress) {
    if ($a -ceq 'Any') { continue }
    $part = $a.Split('/')
    if ($part.Count -eq 2 -and $a -cnotmatch ':') {
      $bits = [uint32]([math]::Pow(2, 32) - [math]::Pow(2, 32 - [int]$part[1]))
      $a = '{0}/{1}.{2}.{3}.{4}' -f $part[0], ($bits -shr 24), (($bits -shr 16) -band 255), (($bits -shr 8) -band 255), ($bits -band 255)
    }
    if ($a -cmatch ':') { $rule += "|RA6=$a" } else { $rule += "|RA4=$a" }
  }
  [IO.File]::AppendAllText($file, "$Name`tsz`t$rule|Name=$DisplayName|Desc=$Description|EmbedCtxt=$Group|`n")
  return $Name
}

function Remove-NetFirewallRule {
  [CmdletBinding()] param([string]$PolicyStore, [string]$Name)
  $file = Get-StandInRules
  [IO.File]::WriteAllLines($file, [string[]]@(foreach ($line in [IO.File]::ReadAllLines($file)) { if ($line.Split([char]9)[0] -inotlike $Name) { $line } }))
}
