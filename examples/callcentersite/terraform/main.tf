# What a place that runs the application is made of. Built-in providers only, so that it is validated without a network.
terraform {
  required_version = ">= 1.4"
}

variable "environment" {
  description = "Where it runs"
  type        = string
  default     = "staging"

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "The environment is staging or production."
  }
}

variable "colours" {
  description = "Ports on loopback of the two releases that stand side by side"
  type        = map(number)
  default     = { blue = 8000, green = 8001 }
}

resource "terraform_data" "release" {
  for_each = var.colours

  input = {
    environment = var.environment
    address     = "127.0.0.1:${each.value}"
    health      = "http://127.0.0.1:${each.value}/api/health"
  }
}

output "health" {
  description = "Where each release is asked whether it is well"
  value       = { for colour, release in terraform_data.release : colour => release.output.health }
}
