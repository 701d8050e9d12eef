# Stands in for System.Security.Cryptography.X509Certificates.X509Store, for only Windows has a Personal store of the
# computer. A store is a folder below $env:PREFLIGHT_STANDINS/certificates/LocalMachine; its certificates are the files in
# it, read by the real X509Certificate2. Like the real thing it holds nothing before it is opened and after it is closed,
# and opening throws CryptographicException where the store is not there (OpenFlags.OpenExistingOnly; ERROR_FILE_NOT_FOUND
# 0x80070002) or may not be read (.NET Framework, X509Store.Open, "The store is unreadable"; ERROR_ACCESS_DENIED
# 0x80070005): here, a folder with a file "denied" in it. Opened for writing it throws, for no script may do that.
class StandInStore {
  hidden [string]$Path
  [Security.Cryptography.X509Certificates.X509Certificate2Collection]$Certificates = [Security.Cryptography.X509Certificates.X509Certificate2Collection]::new()
  StandInStore([string]$name, [Security.Cryptography.X509Certificates.StoreLocation]$location) {
    $this.Path = [IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'certificates', [string]$location, $name)
  }
  [void] Open([Security.Cryptography.X509Certificates.OpenFlags]$flags) {
    if ([string]$flags -cne 'OpenExistingOnly') { throw "no stand-in for opening a store as $flags" } # ReadOnly is 0
    if (-not [IO.Directory]::Exists($this.Path)) { throw $this.Refusal('The system cannot find the file specified.', 0x80070002) }
    if ([IO.File]::Exists([IO.Path]::Combine($this.Path, 'denied'))) { throw $this.Refusal('Access is denied.', 0x80070005) }
    foreach ($file in [IO.Directory]::GetFiles($this.Path)) {
      [void]$this.Certificates.Add([Security.Cryptography.X509Certificates.X509Certificate2]::new($file))
    }
  }
  [void] Close() { $this.Certificates.Clear() }
  hidden [Exception] Refusal([string]$message, [int]$code) {
    $e = [Security.Cryptography.CryptographicException]::new($message)
    $e.HResult = $code
    return $e
  }
}
[psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')::Add('Security.Cryptography.X509Certificates.X509Store', [StandInStore])
